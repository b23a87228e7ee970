"""An independent Modbus server (pymodbus), over TCP or, with the arguments `rtu PORT` or `ascii PORT`, on a serial port: prints its
TCP port or `serial`, serves until its standard input closes.

Unit 1: 32 coils (every third on) from 16, 16 discrete inputs (every second on) from 0, holding registers 100..119 (1000 + address) and
input registers 200..399 (address squared, modulo 65536). Device identification in texts long enough to need several replies.

Units 2 to 4 are devices of a hospital's plant, with the registers that their manuals name and no others: an isolation room (TSI PRESSURA
RPC30), a UPS on battery (APC Smart-UPS; what it does not name inside a block is 0), a room pressure monitor in alarm (TSI RPM20).
"""

import asyncio
import sys

from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def block(first, count, values):
    """Consecutive registers, 0 where nothing is said."""
    return [SimData(first, values=[values.get(a, 0) & 0xFFFF for a in range(first, first + count)], datatype=DataType.REGISTERS)]


def plant():
    nothing = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    none = [SimData(65000, values=[0], datatype=DataType.REGISTERS)]
    room = {0: -25, 1: 850, 2: 121, 3: 45, 4: 715, 6: 950, 7: 2, 8: -500, 9: 0, 11: 605, 13: 1, 14: 0}
    inputs = block(0, 5, room) + block(6, 4, room) + block(11, 1, room) + block(13, 2, room)
    ups = {0: 1 << 5, 1: 1 << 2, 2: 2, 18: 0, 19: 1 << 2}  # bit 21 overload, bit 2 on battery; low input voltage; battery needs replacement
    ups |= {128: 1, 129: 2, 130: 25601, 131: 1750, 135: -128, 136: 6400, 138: 7680, 140: 112, 142: 14720, 144: 6400, 151: 0xFFFF, 154: -4}
    return [
        SimDevice(id=2, simdata=(nothing, nothing, none, inputs)),
        SimDevice(id=3, simdata=(nothing, nothing, block(0, 27, ups) + block(128, 32, ups), none)),
        SimDevice(id=4, simdata=(nothing, nothing, block(79, 1, {79: 2}), none)),
    ]


async def main():
    identity = ModbusDeviceIdentification(
        info_name={
            "VendorName": "Wardgate Proof " + "v" * 80,
            "ProductCode": "WP " + "p" * 80,
            "MajorMinorRevision": "1.2.3",
            "VendorUrl": "https://example.org/" + "u" * 80,
            "ProductName": "Oracle",
            "ModelName": "M" * 90,
            "UserApplicationName": "ward",
        }
    )
    device = SimDevice(
        id=1,
        simdata=(
            [SimData(16, values=[k % 3 == 0 for k in range(32)], datatype=DataType.BITS)],
            [SimData(0, values=[k % 2 == 0 for k in range(16)], datatype=DataType.BITS)],
            [SimData(100, values=[1000 + a for a in range(100, 120)], datatype=DataType.REGISTERS)],
            [SimData(200, values=[a * a % 65536 for a in range(200, 400)], datatype=DataType.REGISTERS)],
        ),
        identity=identity,
    )
    if sys.argv[1:]:
        framer, port = FramerType(sys.argv[1]), sys.argv[2]
        server = ModbusSerialServer(device, framer=framer, identity=identity, port=port, baudrate=115200)
        await server.serve_forever(background=True)
        print("serial", flush=True)
    else:
        server = ModbusTcpServer([device, *plant()], identity=identity, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        print(server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
