-- ARGV: messages, see `put`.
put(1, #ARGV)
return 0
