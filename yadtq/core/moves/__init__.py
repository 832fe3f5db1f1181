"""The moves: one method a Lua script, by who makes them. `ResultStore` joins them."""
