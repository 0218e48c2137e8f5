"""A load generator. In an open loop requests go out when the schedule says, whether or not earlier ones were answered.

Latency counts from the moment at which a request was due, so neither a slow server nor a late generator can hide an
overload.
"""
