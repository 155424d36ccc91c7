"""``make bench``: what Interlock costs, against a direct connection and against ``ssh -J``, with the real client.

The three ways are measured interleaved, in an order shuffled anew for every round, because the speed of a shared
machine drifts over minutes. All of them share its cores, so only the ratios carry over to other machines.
"""
