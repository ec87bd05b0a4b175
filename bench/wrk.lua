-- One presigned request after the other: wrk ... -- HEADS BODY ONCE
--
-- HEADS: a file, one "METHOD target HTTP/1.1" a line. BODY: a file, or "-" for none.
-- ONCE: "once" ends the run after the last line, anything else begins again at the first.
-- The last line of the output is one JSON object.
--
-- The load must cost little beside the servers, which share its cores. A string of half a MiB a
-- request is memory that is mapped, zeroed and unmapped each time. So requests with a body are one
-- string, whose head is written over: wrk copies what `request` returns before it asks again.

local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int pid, int signal);")
local SIGINT = 2

local heads, tail, once, at = {}, nil, false, 0
local whole, room = nil, 0 -- a request with its body, bytes of its head

function init(args)
  for line in io.lines(args[1]) do
    heads[#heads + 1] = line
  end
  local body = ""
  if args[2] ~= "-" then
    local file = assert(io.open(args[2], "rb"))
    body = file:read("*a")
    file:close()
  end
  local host = wrk.host .. ":" .. wrk.port
  tail = "\r\nHost: " .. host .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  once = args[3] == "once"
  if #body > 0 then
    for _, head in ipairs(heads) do
      room = math.max(room, #head)
    end
    whole = padded(heads[1]) .. tail
  end
end

-- A head as long as the longest, by a header that nobody reads.
function padded(head)
  return head .. "\r\nX-Padding: " .. string.rep("-", room - #head)
end

function request()
  at = at + 1
  if at > #heads then
    if once then
      -- wrk's main thread sleeps for the whole duration; the signal wakes it, as Ctrl-C does.
      wrk.thread:stop()
      ffi.C.kill(ffi.C.getpid(), SIGINT)
      return "GET / HTTP/1.1\r\nHost: " .. wrk.host .. "\r\n\r\n"
    end
    at = 1
  end
  if not whole then
    return heads[at] .. tail
  end
  local head = padded(heads[at])
  ffi.copy(ffi.cast("char *", ffi.cast("const char *", whole)), head, #head)
  return whole
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "max": %d, ' ..
    '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
