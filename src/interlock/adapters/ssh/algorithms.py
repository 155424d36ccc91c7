"""The algorithms that Interlock offers, fast ones first: to clients only what `ssh-audit` passes, to targets more.

What clients are offered is a policy of ssh-audit's as well, in the tests of R11, which holds it to the letter.
"""

SERVED_KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
)
"""What our servers offer: every client of the last ten years has one of these."""

KEX = (
    "mlkem768x25519-sha256",  # against recording now and decrypting later
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",  # OpenSSH up to 6.4 and appliances
)
"""What we offer to targets, which are not ours to choose; none has SHA-1."""

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""The default offer: hardware does them, and packets are relayed in place."""

ALL_CIPHERS = (
    *FAST_CIPHERS,
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
"""What configuration may add: everything that asyncssh has and that is not broken."""

SERVED_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
"""What our servers offer for ciphers that need one: encrypt-then-MAC only."""

MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)

HOST_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

HOST_CERTIFICATES = (
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
)

COMPRESSION = ("none",)
"""zlib is not offered: one small packet may inflate without bound (R18)."""


def host_key_algorithms(pinned: tuple[str, ...]) -> tuple[str, ...]:
    """What to ask a target for: signatures by the types of its pinned keys, or a certificate if none is pinned."""
    if not pinned:
        return HOST_CERTIFICATES
    types = {line.split()[0] for line in pinned}
    wanted = [name for name in HOST_KEYS if name in types]
    if "ssh-rsa" in types:
        wanted += [name for name in HOST_KEYS if name.startswith("rsa-")]
    return tuple(wanted)
