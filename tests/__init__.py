"""The tests, by level; see CONTRIBUTING.md."""
