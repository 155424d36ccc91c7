"""``ilctl keys``: sealing the cluster's keys, and replacing what they are sealed by.

No gateway may run meanwhile that still has the keys as they were; of auths on other machines only their
administrator knows.
"""

from interlock.adapters.db.sealed import SqlKeyWrappers
from interlock.core.errors import ConfigError, Denied
from interlock.daemons.keys import KeysConfig, forget_keys, forget_sealed, keep_keys
from interlock.daemons.local import Local
from interlock.ports import Sealing, Wrapping
from interlock.services.keys.sealing import DATA_KEY, ClearSealing, KeySealing


async def seal_keys(local: Local, settings: KeysConfig, way: Wrapping) -> int:
    """Seal all secrets under a new data key; how many. Denied if they are sealed already."""
    if isinstance(local.sealing, KeySealing):
        raise Denied("the cluster's keys are sealed already: to change by what, run ilctl keys rewrap")
    data_key = local.entropy.token(DATA_KEY)
    after = KeySealing(data_key, local.entropy)
    return await _replace(local, settings, way, data_key, after)


async def rewrap_keys(local: Local, settings: KeysConfig, way: Wrapping, *, new_data_key: bool) -> int:
    """Wrap the data key anew, so that what wrapped it before opens nothing; how many secrets were sealed anew.

    ``new_data_key``: somebody may have had the old one, so everything is sealed under another one.
    """
    if not isinstance(local.sealing, KeySealing):
        raise Denied("the cluster's keys are not sealed: run ilctl keys seal")
    if not settings.pkcs11_module and local.authority.in_token:
        raise Denied("authorities' keys are in the PKCS#11 token, and stay there: name it again")
    if not new_data_key:
        return await _replace(local, settings, way, local.sealing.data_key, None)
    data_key = local.entropy.token(DATA_KEY)
    return await _replace(local, settings, way, data_key, KeySealing(data_key, local.entropy))


async def unseal_keys(local: Local) -> int:
    """Store all secrets in the clear again; how many. Denied if they are."""
    if not isinstance(local.sealing, KeySealing):
        raise Denied("the cluster's keys are not sealed")
    count = await SqlKeyWrappers(local.database).replace([], local.sealing, ClearSealing())
    forget_sealed(local.data_dir)
    if not local.authority.in_token:
        forget_keys(local.data_dir)
    return count


async def _replace(
    local: Local, settings: KeysConfig, way: Wrapping, data_key: bytes, after: Sealing | None
) -> int:
    wrapper = way.wrap(way.kind, data_key, now=local.clock.now())
    if way.unwrap(wrapper) != data_key:
        raise ConfigError("what was wrapped could not be unwrapped: nothing was changed")
    store = SqlKeyWrappers(local.database)
    count = await store.replace([wrapper], local.sealing if after is not None else None, after)
    keep_keys(local.data_dir, settings)
    await local.database.scrub()
    return count
