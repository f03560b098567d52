"""What is wrong, at three in the morning?

    command.py   the command: which checks, the report, the exit code
    finding.py   one line of the report
    files.py     the configuration and the directory of the outbox
    machine.py   the clock, the file limit, systemd
    doors.py     the socket and the HTTP addresses: is anybody there, and may I ask
    daemon.py    what the daemon says of itself, its alerts, its providers and its backlog

Every check stands for itself: one that cannot look (no permission, no systemd, no daemon) says so and stops nothing.
"""
