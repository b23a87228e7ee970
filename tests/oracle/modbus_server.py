"""An independent Modbus server (pymodbus), over TCP or, with the arguments `rtu PORT` or `ascii PORT`, on a serial port: prints its
TCP port or `serial`, serves until its standard input closes.

Unit 1: 32 coils (every third on) from 16, 16 discrete inputs (every second on) from 0, holding registers 100..119 (1000 + address) and
input registers 200..399 (address squared, modulo 65536). Device identification in texts long enough to need several replies.
"""

import asyncio
import sys

from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


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
        server = ModbusTcpServer(device, identity=identity, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        print(server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
