"""Whether the contents of recordings are encrypted: by default they are not."""


class NotEncrypted:
    """`ports.ContentKeys` of who was not told to encrypt."""

    @property
    def known(self) -> bool:
        """It is."""
        return True

    async def wait_known(self) -> None:
        """See `known`."""

    def fresh(self) -> None:
        """No key."""
