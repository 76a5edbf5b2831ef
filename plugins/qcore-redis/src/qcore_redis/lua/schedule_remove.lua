-- ARGV: name.
return forget(ARGV[1])
