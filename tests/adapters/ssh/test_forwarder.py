"""Sessions through the proxy between asyncssh peers, over real sockets."""

from interlock.testing.ssh_pair import Gateway, plain_target


async def test_exec_passes_status_and_output(world: Gateway) -> None:
    """A command's output and exit status arrive."""
    async with plain_target(world), await world.client("plain1") as client:
        done = await client.run("exit 3", check=False)
        assert done.exit_status == 3
        done = await client.run("cat", input=b"hello", encoding=None)
        assert done.stdout == b"hello"
