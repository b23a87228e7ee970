//! The yardstick: a native poller without sandbox, store or TLS, one JSON message a poll.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, QoS};
use tokio_modbus::prelude::*;

use crate::{REGISTERS, UNITS};

#[tokio::main(flavor = "current_thread")]
pub async fn poll(device: SocketAddr, broker: u16) {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("native", "127.0.0.1", broker), 100);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let mut bus = tcp::connect(device).await.expect("the device listens");
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        for unit in 1..=UNITS {
            bus.set_slave(Slave(unit));
            let registers = bus.read_holding_registers(0, REGISTERS).await.expect("connected").expect("no exception");
            let json = serde_json::to_vec(&registers).expect("numbers");
            client.publish(format!("ward/{unit}"), QoS::AtLeastOnce, false, json).await.expect("the broker takes it");
        }
    }
}
