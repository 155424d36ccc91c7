"""A mistake in the file is told by the file's own names."""

from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.config import load_config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('cluster_name = "x"', "there is no setting 'cluster_name': known are "),
        ('[proxy]\npublic_addr = "x"', "[proxy] has no setting 'public_addr': known are listen, "),
        ("[proxy]\nlisten = 3023", "proxy.listen: a text in quotes is expected"),
        ('workers = "many"', "workers: a whole number is expected"),
        ("node = 1", "node: a table is expected"),
        ('[exports.siem]\nkind = "x"', "[exports.NAME] has no setting 'kind': known are "),
        ("[proxy", "Expected ']'"),
    ],
)
def test_a_mistake_is_named_as_the_file_has_it(tmp_path: Path, text: str, words: str) -> None:
    """With what may stand there instead, where that is a short list."""
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        load_config(file)
    assert wrong.value.public.startswith(f"{file}: {words}")
    assert "Object" not in wrong.value.public
    assert "`" not in wrong.value.public
