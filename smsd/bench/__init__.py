"""How fast is smsd on this machine?

`smsd bench` starts real daemons, a stand-in for a carrier and a load generator, each a process of its own, and
measures what an application and a carrier can see from outside. It knows the daemon by its command line, its
configuration file, its doors, its log and /proc, never by its modules: a figure that needed more would not be a user's.
"""
