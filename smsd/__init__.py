"""smsd: an outbox for text messages.

A message meets seven verbs; each is one function, in this order:

    accept    core/acceptance.py    validate, count segments
    persist   store/writer.py       commit, then acknowledge
    schedule  core/schedule.py      when
    admit     core/pacing.py        now, or not yet
    send      engine/exchange.py    perform the provider's request
    classify  providers/*.py        what did the answer mean
    settle    core/policy.py        what follows; made durable by store/

The doors are in listeners/, the loop that drives the verbs is engine/, the composition root is daemon.py.
"""

__version__ = "0.1.0"
