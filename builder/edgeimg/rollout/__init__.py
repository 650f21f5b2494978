"""The desk's side of a roll-out: which gateways get which version, in which order, and how it goes.

The server is Eclipse hawkBit; `server` speaks its Management API.
"""
