"""The one module that uses asyncssh's private names; each is pinned by a test in tests/adapters/ssh/test_seams.py."""
