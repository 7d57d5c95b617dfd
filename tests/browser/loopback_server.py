"""The command `visavis`, with media that stays on 127.0.0.1: `python loopback_server.py demo`.

aioice leaves loopback addresses out of its candidates, so without this a call of two processes of
one machine runs over the machine's network interface, and fails where there is none.
"""

import sys

import aioice.ice

from stream.cli import main

if __name__ == "__main__":
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    sys.exit(main())
