"""Who gets into the web, by what they show: users, sessions, tokens. `Accounts` joins them."""
