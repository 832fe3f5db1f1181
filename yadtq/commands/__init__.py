"""The commands of ``yadtq``: one file a command or a group of near ones; ``yadtq.cli`` lists them."""
