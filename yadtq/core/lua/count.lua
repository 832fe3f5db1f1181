-- Add to a counter that is no task's move, since the start and in the present minute.
-- ARGV: its name, how many
count(totals, ARGV[1], tonumber(ARGV[2]))
count(tallies, ARGV[1], tonumber(ARGV[2]))
flush()
return {ERA, NOW}
