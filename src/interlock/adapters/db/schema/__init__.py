"""The tables, as the stores use them. Migrations make them; a test holds the two together.

Policy columns (logins, labels, keys) are JSON text which the stores decode strictly themselves: a layer that
turned a malformed policy into "no restriction" would grant what nobody decided (R6).
"""

from interlock.adapters.db.schema.audit import (
    MADE_UP_AND_SHOWN,
    SESSION_BEGAN,
    checkpoint_heads,
    checkpoints,
    cuts,
    events,
    exports,
    holds,
    told_as,
    writers,
)
from interlock.adapters.db.schema.browsers import (
    browser_sign_ins,
    confirmations,
    connectors,
    errands,
    links,
    vouched,
)
from interlock.adapters.db.schema.columns import Moment, metadata
from interlock.adapters.db.schema.fleet import (
    cluster,
    mode_rules,
    nodes,
    proofs,
    proxies,
    removed_nodes,
    tokens,
    trusted_clusters,
)
from interlock.adapters.db.schema.keys import authorities, former_keys, heard, key_wrappers, rotations
from interlock.adapters.db.schema.people import (
    access_requests,
    bots,
    mfa_devices,
    recovery_codes,
    roles,
    user_keys,
    users,
)
from interlock.adapters.db.schema.sessions import (
    TRACKER_IS_OVER,
    TRACKER_LIVES,
    claims,
    leases,
    locks,
    trackers,
    twins,
)

__all__ = [
    "MADE_UP_AND_SHOWN",
    "SESSION_BEGAN",
    "TRACKER_IS_OVER",
    "TRACKER_LIVES",
    "Moment",
    "access_requests",
    "authorities",
    "bots",
    "browser_sign_ins",
    "checkpoint_heads",
    "checkpoints",
    "claims",
    "cluster",
    "confirmations",
    "connectors",
    "cuts",
    "errands",
    "events",
    "exports",
    "former_keys",
    "heard",
    "holds",
    "key_wrappers",
    "leases",
    "links",
    "locks",
    "metadata",
    "mfa_devices",
    "mode_rules",
    "nodes",
    "proofs",
    "proxies",
    "recovery_codes",
    "removed_nodes",
    "roles",
    "rotations",
    "tokens",
    "told_as",
    "trackers",
    "trusted_clusters",
    "twins",
    "user_keys",
    "users",
    "vouched",
    "writers",
]
