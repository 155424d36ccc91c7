"""The one module that uses asyncssh's private names; tests/adapters/ssh/test_seams.py pins each of them."""
