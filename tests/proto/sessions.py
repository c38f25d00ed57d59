"""Both directions of a session with nats-server 2.15.1, recorded from a raw socket.

The client's side is deliberately odd: tabs, repeated whitespace, lower case, a bare line feed, text
after PING, and a payload that looks like protocol.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FROM_CLIENT", "FROM_SERVER"]

_LOOKS_LIKE_PROTOCOL: Final = b"\r\nPING\r\nMSG orders.new 1 5\r\n\r\n"
_BLOCK: Final = b"NATS/1.0\r\nTrace: a\r\n\r\n"

FROM_SERVER: Final = b"".join(
    [
        b'INFO {"server_id":"NAXF6CZAS7HJHXSLUTVWFTZ3JQEGWQ36IDJAMKW4KC5LLYV7C7OGTFF5",',
        b'"server_name":"recorded","version":"2.15.1","proto":1,"git_commit":"b2fd3ef",',
        b'"go":"go1.27.2","host":"127.0.0.1","port":24999,"headers":true,"auth_required":true,',
        b'"max_payload":1048576,"client_id":5,"client_ip":"127.0.0.1","api_lvl":5,',
        b'"xkey":"XALKRXKHHVN2CID3B2QNCGCUPUMQ75VBAVFSZPIGEF66BFFVKFDC7L7A"} \r\n',
        b"+OK\r\nPONG\r\n",
        b'INFO {"server_id":"NAXF6CZAS7HJHXSLUTVWFTZ3JQEGWQ36IDJAMKW4KC5LLYV7C7OGTFF5",',
        b'"server_name":"recorded","version":"2.15.1","proto":1,"headers":true,',
        b'"max_payload":1048576,"connect_info":true,"remote_account":"$G","api_lvl":5} \r\n',
        b"+OK\r\n+OK\r\n+OK\r\n",
        b"MSG orders.new 1 5\r\nhello\r\nMSG orders.new 2 5\r\nhello\r\n+OK\r\n",
        b"MSG orders.new 1 reply.to 0\r\n\r\nMSG orders.new 2 reply.to 0\r\n\r\n+OK\r\n",
        b"HMSG orders.new 1 22 27\r\n" + _BLOCK + b"hello\r\n",
        b"HMSG orders.new 2 22 27\r\n" + _BLOCK + b"hello\r\n+OK\r\n",
        b"MSG orders.new 1 30\r\n" + _LOOKS_LIKE_PROTOCOL + b"\r\n",
        b"MSG orders.new 2 30\r\n" + _LOOKS_LIKE_PROTOCOL + b"\r\n+OK\r\n",
        b"MSG orders.gr\xc3\xbc\xc3\x9f 1 3\r\n\r\n\n\r\n",
        b"MSG orders.gr\xc3\xbc\xc3\x9f 2 3\r\n\r\n\n\r\n+OK\r\n+OK\r\n",
        b"HMSG _INBOX.x.7 3 43 43\r\nNATS/1.0 503\r\nNats-Subject: nobody.home\r\n\r\n\r\nPING\r\n",
        b"-ERR 'Permissions Violation for Publish to \"closed.door\"'\r\n",
        b"-ERR 'Permissions Violation for Subscription to \"closed.*\"'\r\n",
        b'-ERR \'Permissions Violation for Subscription to "closed.q" using queue "grp"\'\r\n',
        b"+OK\r\n+OK\r\nPONG\r\n+OK\r\nMSG orders.last 1 1\r\nZ\r\n",
        b"-ERR 'Unknown Protocol Operation'\r\n",
    ]
)

FROM_CLIENT: Final = b"".join(
    [
        b'CONNECT {"verbose":true,"pedantic":false,"echo":true,"lang":"raw","version":"0",',
        b'"protocol":1,"headers":true,"no_responders":true,"user":"u","pass":"p"}\r\nPING\r\n',
        b"SUB orders.> 1\r\nsub\torders.*  workers \t2\r\n",
        b"PUB orders.new 5\r\nhello\r\nPUB orders.new reply.to 0\r\n\r\n",
        b"HPUB orders.new 22 27\r\n" + _BLOCK + b"hello\r\n",
        b"PUB orders.new 30\r\n" + _LOOKS_LIKE_PROTOCOL + b"\r\n",
        b"PUB orders.gr\xc3\xbc\xc3\x9f 3\n\r\n\n\r\n",
        b"SUB _INBOX.x.* 3\r\nPUB nobody.home _INBOX.x.7 2\r\nhi\r\n",
        b"PUB closed.door 1\r\nx\r\nSUB closed.* 4\r\nSUB closed.q grp 5\r\n",
        b"UNSUB 2\r\nunsub 1 100\r\nping with junk\r\nPONG\r\nPUB orders.last 1\r\nZ\r\n",
    ]
)
