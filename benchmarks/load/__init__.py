"""An open-loop load generator: requests go out when the schedule says, whether or not earlier ones were answered.

Latency counts from the scheduled moment, so neither a slow server nor a late generator can hide an overload.
"""
