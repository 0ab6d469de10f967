"""``bench``: a load test of an endpoint through its provider.

command       what the command does, from its options to its exit code
settings      its options, checked
load          makes the requests: closed loop or open loop
measurement   what they came to
histogram     latencies in an HdrHistogram
document      a run as JSON, written and read again
comparing     whether one run was faster than another
report        a run in tables
live          a run while it goes on
bars          a histogram in characters
plot          latency by percentile, as an SVG
"""
