"""The command line: each command talks to the daemon through the client, never to its database."""
