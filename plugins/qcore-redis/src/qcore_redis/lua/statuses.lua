local found = {}
for _, text in ipairs(call('HVALS', P .. 'u')) do
  if #text >= 8 and struct.unpack('>d', text) > now then found[#found + 1] = sub(text, 9) end
end
return found
