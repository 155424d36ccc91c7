"""The player: time, speed, pauses, and a terminal left as it was."""

from tempfile import TemporaryFile

import pytest

from interlock.cli.play import IDLE_LIMIT_S, Fetched, Pace, PlayFormat, frames_of_file, play
from interlock.domain.container import Decoder, answered, place_of
from interlock.domain.recording import Frame, Header, Marker, Output, Stream
from interlock.domain.session import Exit, Window
from interlock.domain.terminal import RESTORE
from interlock.testing.recordings import SECOND, long_recording

HEADER = Header(
    sid="d46d710b-24b9-4f86-af68-d7755636b94b",
    user="jeff",
    login="root",
    hostname="web1",
    target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
    sub_kind="interlock",
    recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
    mode="node",
    kind="shell",
    command="",
    start="2026-01-10T22:23:57.642Z",
    cluster="demo",
    interactive=True,
    cols=80,
    rows=24,
)
SESSION = [
    Frame(0, HEADER),
    Frame(1_000_000, Output(Stream.STDOUT, b"one\x1b]0;title\x07")),
    Frame(1_100_000, Window(100, 30)),
    Frame(1_250_000, Output(Stream.STDOUT, b"two")),
    Frame(61_250_000, Output(Stream.STDOUT, b"three")),
    Frame(61_250_000, Exit(status=0)),
]


class Stage:
    """A terminal and its time: writing takes ``cost`` seconds."""

    def __init__(self, cost: float = 0.0) -> None:
        self.time = 50.0
        self.cost = cost
        self.shown: list[tuple[float, str]] = []

    def write(self, text: str) -> None:
        self.shown.append((round(self.time - 50.0, 3), text))
        self.time += self.cost

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def monotonic(self) -> float:
        return self.time


def performed(stage: Stage, pace: Pace) -> list[tuple[float, str]]:
    """Play SESSION on the stage."""
    play(SESSION, stage.write, pace=pace, sleep=stage.sleep, monotonic=stage.monotonic)
    return stage.shown


def test_output_appears_when_it_appeared() -> None:
    """At speed 1 each output comes at its own time, filtered, and the terminal is restored."""
    assert performed(Stage(), Pace()) == [(1.0, "one"), (1.25, "two"), (61.25, "three"), (61.25, RESTORE)]


def test_speed_divides_time() -> None:
    """At speed 2 everything takes half as long."""
    assert [at for at, _ in performed(Stage(), Pace(speed=2))] == [0.5, 0.625, 30.625, 30.625]


def test_skipping_idle_time_caps_pauses() -> None:
    """Long pauses shrink to the limit, short ones stay."""
    times = [at for at, _ in performed(Stage(), Pace(skip_idle=True))]
    assert times == [0.5, 0.75, 0.75 + IDLE_LIMIT_S, 0.75 + IDLE_LIMIT_S]


def test_a_slow_terminal_does_not_delay_the_rest() -> None:
    """Time that writing takes is taken from the next pause."""
    assert [at for at, _ in performed(Stage(cost=0.2), Pace())][:3] == [1.0, 1.25, 61.25]


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.05, 1000.0, float("nan")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    """Zero, negative and absurd speeds are refused by name."""
    with pytest.raises(ValueError, match="speed"):
        Pace(speed=speed)


def test_the_terminal_is_restored_when_the_person_interrupts() -> None:
    """Control-C in the middle of a playback leaves no colours or hidden cursor behind."""
    stage = Stage()

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(SESSION, stage.write, sleep=interrupt, monotonic=stage.monotonic)
    assert stage.shown == [(0.0, RESTORE)]


def test_a_pipe_gets_no_sequences_for_a_terminal() -> None:
    """What has no colours and no cursor needs none restored; a half character at the end still shows."""
    stage = Stage()
    frames = [*SESSION, Frame(61_250_000, Output(Stream.STDOUT, b"\xe2"))]
    play(frames, stage.write, terminal=False, sleep=stage.sleep, monotonic=stage.monotonic)
    assert "".join(text for _, text in stage.shown) == "onetwothree\ufffd"


def test_a_gap_is_shown() -> None:
    """The person sees that something is missing, and why."""
    stage = Stage()
    frames = [Frame(0, HEADER), Frame(0, Marker("gap", "damaged", lost=12))]
    play(frames, stage.write, sleep=stage.sleep, monotonic=stage.monotonic)
    assert stage.shown[0][1] == "\r\n[gap: 12 bytes of recording not kept: damaged]\r\n"


def test_a_forged_gap_cannot_act_on_the_terminal() -> None:
    """Markers of a file from elsewhere are filtered like output."""
    stage = Stage()
    frames = [Frame(0, HEADER), Frame(0, Marker("\x1b]52;c;eA==\x07", "\u009b6n\u202e", lost=1))]
    play(frames, stage.write, sleep=stage.sleep, monotonic=stage.monotonic)
    assert stage.shown[0][1] == "\r\n[]52;c;eA==: 1 bytes of recording not kept: 6n]\r\n"


def test_text_and_json_come_at_once() -> None:
    """The other formats do not wait."""
    stage = Stage()
    play(SESSION, stage.write, form=PlayFormat.TEXT, sleep=stage.sleep, monotonic=stage.monotonic)
    assert "".join(text for _, text in stage.shown) == "onetwothree"
    play(SESSION, stage.write, form=PlayFormat.JSON, sleep=stage.sleep, monotonic=stage.monotonic)
    assert stage.time == 50.0
    assert stage.shown[-1][1] == '{"type":"exit","ms":61250,"status":0,"signal":null,"error":""}\n'


def test_what_was_fetched_plays_from_its_moment_only() -> None:
    """What is not there is told before anything is played, and not taken for damage."""
    data = long_recording(60)
    place = answered(place_of(len(data), 50 * SECOND, Decoder(blind=True)), lambda at, size: data[at : at + size])
    with TemporaryFile() as file:
        fetched = Fetched(file)
        assert fetched.plays_from(1), "nothing is no recording, whatever the moment"
        for offset, size in ((0, 65536), (place.point.offset, len(data) - place.point.offset)):
            fetched.put(offset, data[offset : offset + size // 2])
            fetched.put(offset + size // 2, data[offset + size // 2 : offset + size])
        assert fetched.plays_from(50 * SECOND)
        assert not fetched.plays_from(10 * SECOND)
        frames = list(frames_of_file(file, 50 * SECOND))
    assert frames[-1].body == Exit(status=0)
    assert any(isinstance(each.body, Output) and b"second 50" in each.body.data for each in frames)
