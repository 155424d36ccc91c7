"""The one place that uses asyncssh's private names; tests/adapters/ssh/seams/test_names.py pins each of them.

What is here is thin: each class turns a private hook into a public one, and decides nothing. Reasons, because
asyncssh 2.24.1 has no public way to do it: custom global and channel requests, extra data in a channel open, a
verdict on certificates that is ours alone, exit status strictly after the last byte, and back-pressure from the
socket and from key exchanges.
"""
