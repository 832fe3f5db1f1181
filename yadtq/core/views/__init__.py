"""The reads, by what they are about. `Views` joins them."""
