"""Every bound on what a peer can make us hold, each with its reason. docs/security/limits.md prints this table."""

MAX_PACKET = 256 * 1024
"""Longest SSH packet in bytes. OpenSSH's own limit; RFC 4253 §6.1 only requires 35,000."""

READ_BUFFER = 512 * 1024
"""Bytes read from a socket at once, into one buffer that all connections share. Two packets at least."""

WRITE_HIGH_WATER = 512 * 1024
"""Bytes that may wait for a slow leg before reading on the other one pauses. With what is read at once and what is
left of it, a peer that does not read costs three times as much at worst."""

MAX_DEFERRED = 256 * 1024
"""Bytes of our own messages, such as replies, that may wait for a leg's key exchange; never relayed data. As many
may wait for a client that has not authenticated and does not read."""

MAX_DEFERRED_PACKETS = 4096
"""The same, in packets, of connections that are not relayed: a tunnel answers for up to 512 channels."""

MAX_AUTH_REQUESTS = 64
"""Requests to authenticate on one connection, of whatever kind: twenty keys take two each, questions the rest."""

MAX_CHANNELS = 64
"""Channels open at once on one connection. sshd's MaxSessions is 10; IDEs and ansible stay below 20."""

MAX_FORWARDS = 512
"""Forwarded channels open at once on one connection: a browser behind ``-D`` opens some hundred."""

MAX_LISTENERS = 32
"""Ports and sockets of one target that listen for one connection (``-R``)."""

MAX_FORWARD_ADDRESS = 512
"""Characters of a forward's address that are kept. Host names have 255, socket paths 108."""

MAX_PENDING_REPLIES = 256
"""Requests with want_reply that may be unanswered, per connection and direction and per channel and direction."""

MAX_ENV_VARS = 128
"""Environment requests on one channel (R19)."""

MAX_ENV_BYTES = 32 * 1024
"""Names and values of one channel's environment together (R19)."""

MAX_COMMAND_SHOWN = 64 * 1024
"""Bytes of a command in an audit event. Longer ones exist (Ansible, up to a packet's 256 KiB), and would make each
of a session's three events that name it a megabyte once they are escaped."""

MAX_COMMAND_TITLE = 8 * 1024
"""Bytes of a command in a recording's header and in a tracker, which are read whole to make a list of many."""

MAX_TERM = 128
"""Bytes of a terminal's type in a recording; terminfo has none longer than 30."""

MAX_COVERED = 200
"""Rows of a coverage manifest that are listed each; those alike are counted beyond. A connection has 64 channels
at once, but may open and close forwards for days."""

MAX_COVERED_TEXT = 256
"""Bytes of each text in such a row; host names have 255."""

MAX_RECORDING = 64 * 1024**3
"""Bytes of one recording that auth takes from a node, whole or as it happens."""

STORAGE_RESERVE = 256 * 1024 * 1024
"""Bytes of free space that arriving recordings leave to the database and to live sessions."""

SYNC_BACKLOG = 4 * 1024 * 1024
"""Bytes of one recording that may wait for auth's storage in sync modes; then the session cannot be recorded."""

SYNC_BATCH = 1024 * 1024
"""Bytes of a recording in one call to auth's storage; one call of a session is in progress at a time."""

SYNC_LAG_S = 5.0
"""Seconds that a block of a recording may be missing from auth's storage in sync modes: an auth that is started
again within them is not noticed."""

MAX_SESSION_PARAMS = 16 * 1024
"""Bytes of extra data in a CHANNEL_OPEN."""

MAX_REASON = 1024
"""Bytes of a refusal's text that we pass on from a target."""

MAX_HAND_OVER = 64 * 1024
"""Bytes of a leaf cluster's answer about a target: its labels are what varies."""

SESSION_ID_WAIT_S = 10.0
"""Seconds that a target may take to report the session ID after it accepted the channel (teleport-facts §1.2)."""

DIAL_TIMEOUT_S = 15.0
"""Seconds to reach, verify and log in to a target."""

LEAF_TIMEOUT_S = 25.0
"""Seconds to reach and verify a leaf's proxy and to have its answer, for which it dials a target of its own."""

LOGIN_TIMEOUT_S = 120.0
"""Seconds that a client has to authenticate, as in sshd: somebody may be choosing a new password."""

KEEPALIVE_INTERVAL_S = 300.0
"""Seconds of silence after which a leg is asked whether it is alive."""

KEEPALIVE_MAX_MISSED = 3
"""Unanswered keepalives after which a leg counts as dead."""

REKEY_BYTES = 1 << 30
"""Bytes sent with one key (RFC 4253 §9). Peers that ask earlier are followed."""

REKEY_SECONDS = 3600.0
"""Seconds that one key is used (RFC 4253 §9)."""

KEY_EXCHANGE_TIMEOUT_S = 120.0
"""Seconds that a key exchange of a relayed connection may take, in which the other side has to wait. Long enough
for what is queued on a line of 10 kB/s; sshd gives as long to log in."""

MAX_CONNECTIONS_PREAUTH = 512
"""Connections that have not authenticated yet; beyond it the source that has most loses its oldest (R17)."""

PROXY_HEADER_WAIT_S = 5.0
"""Seconds that a load balancer has to say whose connection it passes on, which it does first of all (R17)."""

MAX_UNSENT = 16 * 1024 * 1024
"""Bytes that may wait to be written to a remote that does not read, whatever the reason; then it is cut off."""

FORWARD_REFUSALS_TOLD = 100
"""Refused or failed forwards of one connection that become audit events; a scan by ``-D`` makes thousands."""

REFUSALS_TOLD = 100
"""Refusals of one connection that become audit events, so that neither side can flood the audit log."""

MAX_SFTP_PACKET = 16 * 1024 * 1024
"""Longest SFTP packet that counts as one. Servers take 256 KiB to 4 MiB; what is longer is some other protocol. No
packet is ever held, whatever its length."""

MAX_SFTP_HEAD = 16 * 1024
"""Bytes of an SFTP request that are kept until it can be read: two paths of PATH_MAX, 4096, and attributes."""

MAX_SFTP_HANDLE = 256
"""Bytes of a handle; the drafts' own limit."""

MAX_SFTP_FILES = 1024
"""Files that an SFTP channel has open at once; OpenSSH's server allows about as many descriptors."""

MAX_SFTP_REQUESTS = 4096
"""SFTP requests without an answer. Clients keep 64 per file, some of them for a dozen files at once."""

MAX_SFTP_NAMES = 1024 * 1024
"""Bytes of all paths that an SFTP channel's open files and unanswered requests hold."""

MAX_PATH_SHOWN = 4096
"""Bytes of a path in an audit event: PATH_MAX. What is longer can be no file of a target's, and ends in "…"."""

MAX_SUMMARY_FILES = 1000
"""Files that the summary of an SFTP session names; each has an event of its own besides."""

MAX_SUMMARY_PATHS = 64 * 1024
"""Bytes of their paths together, as much as a command may have in an event."""

MAX_SCP_LINE = 8 * 1024
"""Bytes of a control line of scp: a name of NAME_MAX, 255, and with some servers a message that quotes a path."""

MAX_SCP_PATH = 16 * 1024
"""Bytes of the directories that an scp -r is in."""

TUNNEL_WINDOW = 1024 * 1024
"""Bytes of one connection in a reverse tunnel that may wait for somebody who does not read."""

MAX_TUNNEL_VISITS = 512
"""Connections that a node takes through one tunnel at once; more are refused. Times `TUNNEL_WINDOW` at worst."""

MAX_TUNNEL_CALLS = 16
"""Connections to auth that a node may have open through one tunnel. gRPC needs one, and two while it renews."""

TUNNEL_KEEPALIVE_S = 15.0
"""Seconds of silence after which either end of a tunnel is asked whether it lives: NATs forget after a minute."""

TUNNEL_MAX_MISSED = 3
"""Unanswered keepalives after which a tunnel counts as dead."""

TUNNEL_WAIT_S = 5.0
"""Seconds that a session waits for a listed node to dial in again, which takes one or two after a restart."""

JOIN_TIME_S = 60.0
"""Seconds that a node without an identity may be connected to the proxy: joining takes two."""

MAX_INSERTED = 2 * 1024 * 1024
"""Bytes that parties may type into a session ahead of its target's window adjusts, and so of the owner's own bytes
that may have to wait for them. OpenSSH's whole window: a target that adjusts late must still get to it."""

MAX_NOTICES = 8 * 1024
"""Bytes of notices to a session's owner ahead of its client's window adjusts; further ones are left out."""

MAX_PAUSED_OUTPUT = 4 * 1024 * 1024
"""Bytes of output of a paused session that are held. A client's window bounds it first, with stock clients."""

MAX_PARTIES = 32
"""People who take part in one session at once, beside its owner."""

MAX_WORDS = 1024
"""Bytes of a session's reason, or of the names of those who are invited, that are kept."""

MAX_INVITED = 20
"""Users whom one session invites."""

PARTY_KEEPALIVE_S = 15.0
"""Seconds between questions to somebody who takes part in a session: a moderator who has gone must be missed."""

PARTY_KEEPALIVE_MISSED = 2
"""Unanswered questions after which they count as gone."""
