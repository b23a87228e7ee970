"""An independent terminal server (pyserial's RFC 2217) with the device behind it: prints its TCP port, and then one line of JSON for each thing it
hears: {"set": [baud, data bits, parity, stop bits, flow]} when the port behind it is set, {"heard": hex}. Takes on standard input, a line each:
`say HEX` (what the device sends), `fault NUMBER` (the bits of a line state that a UART would have, of which the client is told those it asked for),
`hang up`. Serves one client at a time until its standard input closes.
"""

import json
import socket
import sys
import threading

import serial
from serial.rfc2217 import SERVER_NOTIFY_LINESTATE, PortManager


class Port:
    """What is set of a serial port; there is no line."""

    baudrate, bytesize, parity, stopbits, xonxoff, rtscts = 9600, 8, serial.PARITY_NONE, serial.STOPBITS_ONE, False, False
    cts = dsr = cd = True
    ri = rts = dtr = break_condition = False

    def reset_input_buffer(self):
        pass

    def reset_output_buffer(self):
        pass

    def seen(self):
        flow = "xon-xoff" if self.xonxoff else "rts-cts" if self.rtscts else "none"
        return [self.baudrate, self.bytesize, self.parity, self.stopbits, flow]


class Wire:
    def __init__(self, client):
        self.client = client

    def write(self, data):
        self.client.sendall(data)


def say(what):
    print(json.dumps(what), flush=True)


def serve(listener, now):
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = Port()
        manager = PortManager(port, Wire(client))
        now.update(client=client, manager=manager)
        told = None
        try:
            while data := client.recv(4096):
                heard = b"".join(manager.filter(data))
                if port.seen() != told:
                    told = port.seen()
                    say({"set": told})
                if heard:
                    say({"heard": heard.hex()})
        except OSError:
            pass
        now.clear()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    now = {}
    threading.Thread(target=serve, args=(listener, now), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if not now:
            continue
        if word == "say":
            now["client"].sendall(b"".join(b if isinstance(b, bytes) else bytes([b]) for b in now["manager"].escape(bytes.fromhex(rest))))
        elif word == "fault":
            state = int(rest) & now["manager"].linstate_mask
            if state:
                now["manager"].rfc2217_send_subnegotiation(SERVER_NOTIFY_LINESTATE, bytes([state]))
        elif word == "hang":
            now["client"].shutdown(socket.SHUT_RDWR)


main()
