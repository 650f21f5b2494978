"""One build: planned, fetched, composed, packed, published."""
