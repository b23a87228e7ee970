"""A ward of Bluetooth peripherals on Google's Bumble, and the controller that the guest's BlueZ drives over H4: radio, link layer, pairing and
GATT servers are Bumble's, the profiles follow the published layouts and share nothing with the plugins that read them.

    peripherals.py --hci tcp-server:127.0.0.1:PORT --sent FOLDER

Says what happens as JSON lines on standard output, takes orders on standard input (`speak`, `hush`, `vanish NAME`, `return NAME`, `books` ...),
and writes every notification that went out while somebody was subscribed to FOLDER/NAME.jsonl.
"""

import argparse
import asyncio
import json
import struct
import sys
import time

from bumble import att, hci, ll
from bumble.controller import Controller
from bumble.core import AdvertisingData, PhysicalTransport
from bumble.device import Device, DeviceConfiguration
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport import open_transport

ADVERTISING_MS = 200  # a nurse who switches a belt on waits no longer than that
SUPERVISION_S = 2.0  # how long a controller waits for a silent peer before it gives the link up
GATEWAY = Address("C0:FF:EE:00:00:01", Address.PUBLIC_DEVICE_ADDRESS)
NO_ADDRESS = Address("00:00:00:00:00:00", Address.RANDOM_DEVICE_ADDRESS)
P = Characteristic.Properties
READ, WRITE = att.Attribute.READABLE, att.Attribute.WRITEABLE
SEALED = att.Attribute.READ_REQUIRES_ENCRYPTION | att.Attribute.WRITE_REQUIRES_ENCRYPTION
KNOWN = att.Attribute.READ_REQUIRES_AUTHENTICATION | att.Attribute.WRITE_REQUIRES_AUTHENTICATION


def say(**facts):
    print(json.dumps(facts), flush=True)


class Air(LocalLink):
    """Bumble's link, with what a radio does and it does not: a public address at the central's end, and peers that fall silent."""

    def __init__(self):
        super().__init__()
        self.silent = set()

    def hidden(self, controller):
        return controller in self.silent

    def send_acl_data(self, sender_controller, destination_address, transport, data):
        receiver = self.find_le_controller(destination_address)
        if transport != PhysicalTransport.LE or receiver is None:
            return
        if self.hidden(sender_controller) or self.hidden(receiver):
            return
        # by the address that this connection was made with, not by a random one that was never set
        link = sender_controller.le_connections.get(destination_address)
        source = link.self_address if link else sender_controller.random_address
        asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, source, transport, data)

    def send_advertising_pdu(self, sender_controller, packet):
        if self.hidden(sender_controller):
            return
        for controller in self.controllers:
            if controller is not sender_controller and not self.hidden(controller):
                asyncio.get_running_loop().call_soon(controller.on_ll_advertising_pdu, packet)

    def send_ll_control_pdu(self, sender_address, receiver_address, packet):
        sender, receiver = self.find_le_controller(sender_address), self.find_le_controller(receiver_address)
        if sender is None or receiver is None or self.hidden(sender) or self.hidden(receiver):
            return
        asyncio.get_running_loop().call_soon(receiver.on_ll_control_pdu, sender_address, packet)


class Chip(Controller):
    """Bumble's controller, with what the kernel relies on: a connection attempt that is cancelled ends, and with an event."""

    def on_hci_le_create_connection_cancel_command(self, command):
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        over = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            connection_handle=0,
            role=hci.Role.CENTRAL,
            peer_address_type=pending.peer_address.address_type,
            peer_address=pending.peer_address,
            connection_interval=0,
            peripheral_latency=0,
            supervision_timeout=0,
            central_clock_accuracy=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, over)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


class GatewaysChip(Chip):
    """The one that the kernel drives. Where the host has unmasked the enhanced event of a new connection, a controller sends that one and no other
    (Core 5.4, vol 4, part E, 7.7.65.10): the kernel waits for it, four seconds each time that it does not come, and takes the connection for a failed
    one after that, although it uses it: when it is closed later nothing can be connected to that peripheral any more (`Device or resource busy`)."""

    ENHANCED = 1 << 9  # in the mask of LE events

    def send_hci_packet(self, packet):
        if isinstance(packet, hci.HCI_LE_Connection_Complete_Event) and self.le_event_mask & self.ENHANCED:
            packet = hci.HCI_LE_Enhanced_Connection_Complete_Event(
                status=packet.status,
                connection_handle=packet.connection_handle,
                role=packet.role,
                peer_address_type=packet.peer_address_type,
                peer_address=packet.peer_address,
                local_resolvable_private_address=NO_ADDRESS,
                peer_resolvable_private_address=NO_ADDRESS,
                connection_interval=packet.connection_interval,
                peripheral_latency=packet.peripheral_latency,
                supervision_timeout=packet.supervision_timeout,
                central_clock_accuracy=packet.central_clock_accuracy,
            )
        super().send_hci_packet(packet)


class Nurse(PairingDelegate):
    """Who stands at the peripheral: reads its display aloud, or presses its button."""

    def __init__(self, name, capability):
        super().__init__(io_capability=capability)
        self.name = name

    async def display_number(self, number, digits):
        say(event="passkey", name=self.name, passkey=f"{number:0{digits}}")

    async def compare_numbers(self, number, digits):
        say(event="compare", name=self.name, passkey=f"{number:0{digits}}")
        return True


def sfloat(mantissa, exponent):
    return struct.pack("<H", (exponent & 15) << 12 | mantissa & 0xFFF)


def long_float(mantissa, exponent):
    return struct.pack("<I", (exponent & 0xFF) << 24 | mantissa & 0xFFFFFF)


def number(mantissa, exponent=0):
    return {"mantissa": mantissa, "exponent": exponent}


class Peripheral:
    """One device of its own chip. What is sent is counted here, when a subscriber is there."""

    every_s = 1.0
    indicates = False
    guard = 0
    capability = PairingDelegate.NO_OUTPUT_NO_INPUT
    mitm = False
    private = False
    pushy = False

    def __init__(self, air, name, address, sent):
        self.name, self.air = name, air
        self.chip = Chip(name, link=air)
        host = Host()
        host.controller = self.chip
        configuration = DeviceConfiguration(name=name, address=Address(address), irk=bytes.fromhex(address.replace(":", "")) + bytes(10))
        configuration.le_privacy_enabled = self.private
        self.device = Device(host=host, config=configuration)
        self.device.pairing_config_factory = lambda _: PairingConfig(
            sc=True, mitm=self.mitm, bonding=True, delegate=Nurse(name, self.capability),
            identity_address_type=PairingConfig.AddressType.RANDOM,
        )
        self.log = open(f"{sent}/{name}.jsonl", "a", buffering=1)
        self.count = self.lost = self.notified = 0
        self.writes = []
        self.channels = self.characteristics()
        for channel in self.channels:
            channel.on("subscription", lambda _, notifies, indicates, uuid=channel.uuid.to_hex_str(): say(
                event="subscribed" if notifies or indicates else "unsubscribed", name=self.name, characteristic=uuid))
        self.battery = Characteristic("2A19", P.READ | P.NOTIFY, READ, bytes([87]))
        strings = {"2A25": f"SN-{name}", "2A29": "Bumble Ward", "2A24": type(self).__name__}
        self.device.add_services([
            Service(self.service, self.channels),
            Service("180A", [Characteristic(uuid, P.READ, READ, text.encode()) for uuid, text in strings.items()]),
            Service("180F", [self.battery]),
        ])
        self.device.on("connection", self.connected)

    async def start(self):
        await self.device.power_on()
        await self.advertise()

    async def advertise(self):
        fields = [
            (AdvertisingData.FLAGS, bytes([6])),
            (AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, bytes.fromhex(self.service)[::-1]),
            (AdvertisingData.COMPLETE_LOCAL_NAME, self.name.encode()),
        ]
        self.device.advertising_data = bytes(AdvertisingData(fields))
        await self.device.start_advertising(
            auto_restart=True, advertising_interval_min=ADVERTISING_MS, advertising_interval_max=ADVERTISING_MS
        )

    def connected(self, connection):
        say(event="connected", name=self.name, encrypted=bool(connection.encryption))
        connection.on("disconnection", lambda reason: say(event="disconnected", name=self.name, reason=reason))
        connection.on("connection_encryption_change", lambda: say(event="encrypted", name=self.name, by=connection.encryption))
        connection.on("pairing", lambda _: say(event="paired", name=self.name))
        connection.on("pairing_failure", lambda reason: say(event="pairing failed", name=self.name, reason=getattr(reason, "name", str(reason))))
        if self.pushy:
            connection.request_pairing()

    @property
    def link(self):
        if self.chip in self.air.silent:
            return None
        return next(iter(self.device.connections.values()), None)

    def listens(self, characteristic):
        subscriptions = self.link and self.device.gatt_server.subscribers.get(self.link)
        value = (subscriptions or {}).get(characteristic.handle, b"\0\0")
        return bool(value[0] & (2 if characteristic.properties & P.INDICATE else 1))

    async def tell(self, characteristic, data, readings):
        """Sends one value, if somebody listens, and notes what it says."""
        if not self.listens(characteristic):
            return False
        self.notified += 1
        self.log.write(json.dumps({"n": self.notified, "from": characteristic.uuid.to_hex_str(), "hex": data.hex(), "says": readings}) + "\n")
        try:
            if characteristic.properties & P.INDICATE:
                await self.device.gatt_server.indicate_subscriber(self.link, characteristic, data)
            else:
                await self.device.gatt_server.notify_subscriber(self.link, characteristic, data)
        except Exception as why:  # the link went while it was told
            say(event="not told", name=self.name, why=repr(why))
        return True

    async def speak(self):
        data, readings = self.value(self.count)
        self.count += await self.tell(self.channels[0], data, readings)

    # what radios do
    async def vanish(self):
        """Out of reach: nothing comes any more, and after the supervision timeout both ends know."""
        self.air.silent.add(self.chip)
        await asyncio.sleep(SUPERVISION_S)
        for chip in [self.chip, self.air.gateway]:
            for link in list(chip.le_connections.values()):
                if chip is self.chip or link.peer_address in self.addresses():
                    chip.on_le_disconnected(link, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    def addresses(self):
        return {self.chip.random_address, self.chip.public_address, self.device.random_address, self.device.static_address}

    async def come_back(self):
        self.air.silent.discard(self.chip)
        if not self.device.is_advertising:
            await self.advertise()

    async def hang_up(self):
        if self.link:
            await self.link.disconnect()


class Belt(Peripheral):
    """Heart rate, 180D. The energy counts up, so that each message is one of a kind."""

    service = "180D"
    every_s = 0.5

    def characteristics(self):
        return [Characteristic("2A37", P.NOTIFY, 0), Characteristic("2A38", P.READ, READ, bytes([1]))]

    def value(self, n):
        rate, interval, energy = 60 + n % 40, 700 + n % 300, n % 0xFFFF
        data = struct.pack("<BBHH", 0b11110, rate, energy, interval)
        return data, {"heart-rate": number(rate), "energy-expended": number(energy), "rr-interval": number(interval * 9765625, -10)}


class SecretBelt(Belt):
    """A belt with a private address, which only who is bonded to it knows again; just works."""

    guard = SEALED
    private = True

    def characteristics(self):
        return [Characteristic("2A37", P.NOTIFY, 0), Characteristic("2A38", P.READ, READ | SEALED, bytes([1]))]


class Oximeter(Peripheral):
    """Continuous, 1822. Numeric comparison when it pairs. The amplitude counts up."""

    service = "1822"
    capability = PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT
    mitm = True

    def characteristics(self):
        return [Characteristic("2A5F", P.NOTIFY, 0), Characteristic("2A60", P.READ, READ, struct.pack("<H", 0))]

    def value(self, n):
        saturation, pulse, amplitude = 900 + n % 100, 60 + n % 50, n % 2000
        data = bytes([1 << 4]) + sfloat(saturation, -1) + sfloat(pulse, 0) + sfloat(amplitude, -2)
        return data, {"spo2": number(saturation, -1), "pulse-rate": number(pulse), "pulse-amplitude-index": number(amplitude, -2)}


class Thermometer(Peripheral):
    """1809, by indications: each is confirmed before the next goes out."""

    service = "1809"

    def characteristics(self):
        return [Characteristic("2A1C", P.INDICATE, 0), Characteristic("2A1D", P.READ, READ, bytes([2]))]

    def value(self, n):
        return bytes([0]) + long_float(36000 + n, -3), {"temperature": number(36000 + n, -3)}


class Meter(Peripheral):
    """Glucose, 1808: a memory that is asked by the record access control point. Pairs by passkey, and shows nothing to who did not. Every third
    record has a context, which follows over a characteristic of its own; the meal's carbohydrate counts up, so that each is one of a kind."""

    service = "1808"
    capability = PairingDelegate.DISPLAY_OUTPUT_ONLY
    mitm = True
    records = 40
    every_s = 0.05  # between two records of a report

    def characteristics(self):
        self.stored = {n: 500 + n for n in range(self.records)}
        self.cut_after = None
        self.told = 0
        self.reporting = None
        asked = CharacteristicValue(write=self.asked)
        return [
            Characteristic("2A18", P.NOTIFY, 0),
            Characteristic("2A51", P.READ, READ | KNOWN, struct.pack("<H", 0)),
            Characteristic("2A52", P.WRITE | P.INDICATE, WRITE | KNOWN, asked),
            Characteristic("2A34", P.NOTIFY, 0),
        ]

    def has_context(self, n):
        return n % 3 == 2

    def record(self, n):
        level = self.stored[n]
        base = struct.pack("<HBBBBB", 2026, 11, 1 + n // 24 % 28, n % 24, n % 60, 0)
        flags = 0b10 | self.has_context(n) << 4
        data = struct.pack("<BH", flags, n) + base + sfloat(level, -5) + bytes([0x11])
        return data, {"sequence": number(n), "glucose": number(level, -5)}

    def context(self, n):
        """As many grams as its record's number."""
        kind, meal = 1 + n % 7, 1 + n % 5
        data = struct.pack("<BHB", 0b11, n, kind) + sfloat(n, -3) + bytes([meal])
        return data, {"carbohydrate": number(n, -3), "carbohydrate-kind": {"code": kind}, "meal": {"code": meal}}

    def asked(self, _, order):
        say(event="asked", name=self.name, hex=order.hex())
        self.writes.append(order.hex())
        task = asyncio.get_running_loop().create_task(self.answer(order))
        if order[0] == 1:
            self.reporting = task

    async def answer(self, order):
        control = self.channels[2]
        code, operator = order[0], order[1]
        first = struct.unpack_from("<H", order, 3)[0] if operator == 3 else 0
        matching = [n for n in sorted(self.stored) if n >= first]
        if code == 4:
            await self.tell_control(control, bytes([5, 0]) + struct.pack("<H", len(matching)))
        elif code == 1:
            for n in matching:
                if not await self.tell(self.channels[0], *self.record(n)):
                    return
                self.told += 1
                if self.has_context(n):
                    if self.cut_after is not None and self.told >= self.cut_after:
                        self.cut_after = None
                        await asyncio.sleep(self.every_s)  # the record goes out
                        say(event="cut", name=self.name, told=self.told, record=n)
                        asyncio.get_running_loop().create_task(self.vanish())
                        return
                    await self.tell(self.channels[3], *self.context(n))
                await asyncio.sleep(self.every_s)
            await self.tell_control(control, bytes([6, 0, 1, 1 if matching else 6]))
        elif code == 2:
            last = struct.unpack_from("<H", order, 3)[0] if operator == 2 else max(self.stored, default=0)
            self.stored = {n: level for n, level in self.stored.items() if n > last}
            await self.tell_control(control, bytes([6, 0, 2, 1]))
        elif code == 3:
            if self.reporting:
                self.reporting.cancel()
            await self.tell_control(control, bytes([6, 0, 3, 1]))
        else:
            await self.tell_control(control, bytes([6, 0, code, 2]))

    async def tell_control(self, control, data):
        """Answers of the control point are part of the conversation, not of what is measured: they are not counted."""
        if self.listens(control):
            try:
                await self.device.gatt_server.indicate_subscriber(self.link, control, data)
            except Exception as why:
                say(event="not told", name=self.name, why=repr(why))

    async def speak(self):
        pass  # it speaks when it is asked


WARD = [
    (Belt, "belt-1", "F0:00:00:00:01:01"),
    (Belt, "belt-2", "F0:00:00:00:01:02"),
    (SecretBelt, "secret-belt", "F0:00:00:00:01:03"),
    (Oximeter, "oximeter-1", "F0:00:00:00:02:01"),
    (Oximeter, "oximeter-2", "F0:00:00:00:02:02"),
    (Thermometer, "thermometer", "F0:00:00:00:03:01"),
    (Meter, "meter", "F0:00:00:00:04:01"),
    (Belt, "flapper", "F0:00:00:00:05:01"),
]


class Ward:
    def __init__(self, sent):
        self.air = Air()
        self.peripherals = {name: kind(self.air, name, address, sent) for kind, name, address in WARD}
        self.speaking = False

    async def talk(self, peripheral):
        while True:
            await asyncio.sleep(peripheral.every_s if self.speaking else 0.05)
            if self.speaking:
                await peripheral.speak()

    async def flap(self, peripheral, times):
        for _ in range(times):
            await peripheral.vanish()
            await asyncio.sleep(0.5)
            await peripheral.come_back()
            await asyncio.sleep(3)
        say(event="flapped", name=peripheral.name, times=times)

    def books(self):
        say(event="books", notified={name: p.notified for name, p in self.peripherals.items()},
            writes={name: p.writes for name, p in self.peripherals.items() if p.writes})

    async def order(self, line):
        word, *rest = line.split()
        loop = asyncio.get_running_loop()
        named = self.peripherals.get(rest[0]) if rest else None
        if word == "speak":
            self.speaking = True
        elif word == "hush":
            self.speaking = False
        elif word == "books":
            self.books()
            return
        elif word == "vanish":
            await named.vanish()
        elif word == "return":
            await named.come_back()
        elif word == "hang-up":
            await named.hang_up()
        elif word == "flap":
            loop.create_task(self.flap(named, int(rest[1])))
        elif word == "push":  # it demands a bond on every link from now on
            named.pushy = True
        elif word == "cut":  # the meter vanishes when it has told so many records more, before the context of the last
            named.cut_after = named.told + int(rest[1])
        elif word == "store":  # and measures so many more
            last = max(named.stored, default=-1)
            named.stored.update({n: 500 + n for n in range(last + 1, last + 1 + int(rest[1]))})
        else:
            say(event="what", order=line)
            return
        say(event="done", order=line)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hci", required=True)
    parser.add_argument("--sent", required=True)
    options = parser.parse_args()
    ward = Ward(options.sent)
    async with await open_transport(options.hci) as transport:
        gateway = GatewaysChip("gateway", host_source=transport.source, host_sink=transport.sink, link=ward.air, public_address=GATEWAY)
        ward.air.gateway = gateway
        loop = asyncio.get_running_loop()
        for peripheral in ward.peripherals.values():
            await peripheral.start()
            loop.create_task(ward.talk(peripheral))
        say(event="ready", peripherals=len(ward.peripherals))
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := (await lines.readline()).decode().strip():
            await ward.order(line)


asyncio.run(main())
