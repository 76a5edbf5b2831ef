-- ARGV: messages, see `put`.
put(1)
return 0
