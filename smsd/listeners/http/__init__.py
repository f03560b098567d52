"""How do programs and people reach the daemon over HTTP?

    door.py         listening, connections, what becomes of a request
    connection.py   one client's connection: aiohttp's, with deadlines; crowd.py: who is idle or late, who makes room;
                    owing.py: what nobody reads; framing.py: requests that others would read differently
    access.py       who asks: tokens, anonymous callers
    routes.py       which operation a path is; performing.py: how it is performed; turns.py: what is costly, by turns;
                    visits.py: reads under way, and what ends them
    reading.py      path, query and body as a request; bodies.py: bodies, whole and bounded; accepting.py: `Accept`
    problems.py     every error as problem+json
    batch.py        many submissions in one request, answered as they come; splitting, unread, batch_limits, inflow: its
                    parts; campaigns.py: a campaign, by the same
    sse.py          events that stream
    webhooks.py     providers that call back
    openapi.py      the description of it all

Operations, their scopes and their answers are the same as on the socket (`listeners.operations`).
"""
