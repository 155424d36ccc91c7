"""Events in one table for each month, on PostgreSQL. Frozen: a later shape is a later migration.

A table of months can have no unique key without the time in it. So each month has its own, which hold within it,
and a trigger looks into the others, while whoever inserts has the turn to write, as all writers of ours have. What
has a time for which there is no month goes into ``events_other`` until there is one.
"""

from alembic import op

from interlock.adapters.db.backend import driver

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ONCE = "event IN ('session.start', 'session.end', 'session.data', 'session.upload') AND NOT hidden"

_PARENT = """
ALTER TABLE events RENAME TO events_whole;
CREATE SEQUENCE events_arrival;
CREATE TABLE events (
    seq BIGINT NOT NULL DEFAULT nextval('events_arrival'),
    uid TEXT COLLATE "C" NOT NULL,
    sid TEXT COLLATE "C",
    event TEXT COLLATE "C" NOT NULL,
    time TEXT COLLATE "C" NOT NULL,
    "user" TEXT COLLATE "C",
    ei INTEGER NOT NULL,
    synthesized TEXT COLLATE "C",
    body TEXT COLLATE "C" NOT NULL,
    writer INTEGER NOT NULL,
    number BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    hidden BOOLEAN NOT NULL
) PARTITION BY RANGE (time);
ALTER SEQUENCE events_arrival OWNED BY events.seq;
"""

_KEYS = """
CREATE FUNCTION interlock_events_keys(part text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE UNIQUE INDEX %I ON %I (uid)', part || '_uid', part);
    EXECUTE format('CREATE UNIQUE INDEX %I ON %I (writer, number)', part || '_in_chain', part);
    EXECUTE format('CREATE UNIQUE INDEX %I ON %I (sid, event) WHERE {once}', part || '_once', part);
END $$
"""

_MONTH = """
CREATE FUNCTION interlock_events_month(month text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    part text := 'events_' || replace(month, '-', '_');
    beyond text := to_char(to_date(month, 'YYYY-MM') + interval '1 month', 'YYYY-MM');
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS)', part);
    EXECUTE format('WITH moved AS (DELETE FROM events_other WHERE time >= %L AND time < %L RETURNING *) '
                   'INSERT INTO %I SELECT * FROM moved', month, beyond, part);
    PERFORM interlock_events_keys(part);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, month, beyond);
    RETURN true;
END $$
"""

_NEW = """
CREATE FUNCTION interlock_event_is_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({turn});
    IF EXISTS (SELECT FROM events WHERE uid = NEW.uid) THEN
        RETURN NULL;
    END IF;
    IF NEW.event IN ('session.start', 'session.end', 'session.data', 'session.upload') AND NOT NEW.hidden
       AND EXISTS (SELECT FROM events WHERE sid = NEW.sid AND event = NEW.event AND {once}) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER events_are_new BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION interlock_event_is_new();
"""
_TURN = 0x1E7E_2_10C4

_FILL = """
CREATE TABLE events_other PARTITION OF events DEFAULT;
SELECT interlock_events_keys('events_other');
SELECT interlock_events_month(each) FROM (
    SELECT DISTINCT substr(time, 1, 7) AS each FROM events_whole WHERE time ~ '^[0-9]{4}-(0[1-9]|1[0-2])-'
    UNION SELECT to_char(timezone('utc', now()) + ahead * interval '1 month', 'YYYY-MM')
    FROM generate_series(0, 2) AS ahead
) AS months ORDER BY each;
INSERT INTO events SELECT seq, uid, sid, event, time, "user", ei, synthesized, body, writer, number, hash, hidden
FROM events_whole ORDER BY seq;
SELECT setval('events_arrival', greatest((SELECT max(seq) FROM events_whole), 1),
              EXISTS (SELECT FROM events_whole));
DROP TABLE events_whole;
"""

_INDICES = """
ALTER TABLE events ADD PRIMARY KEY (seq, time);
CREATE INDEX events_by_sid ON events (sid, seq);
CREATE INDEX events_by_user ON events ("user", seq);
CREATE INDEX events_by_event ON events (event, seq);
CREATE INDEX events_made_up_by_auth ON events (sid) WHERE synthesized = 'auth' AND NOT hidden;
CREATE INDEX events_that_begin_sessions ON events ("user", seq) WHERE event = 'session.start';
CREATE INDEX events_that_begin_sessions_by_time ON events ("user", time) WHERE event = 'session.start';
"""


def upgrade() -> None:
    """Copy what there is into its months; SQLite's table stays as it is."""
    if op.get_bind().dialect.name != "postgresql":
        return
    quoted = _ONCE.replace("'", "''")
    keys, new = _KEYS.replace("{once}", quoted), _NEW.replace("{once}", _ONCE).replace("{turn}", str(_TURN))
    for script in (_PARENT, keys, _MONTH, _FILL, _INDICES, new):
        driver(op.get_bind()).execute(script)  # it has several statements, and its own percent signs
