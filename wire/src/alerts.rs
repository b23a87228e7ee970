//! The bytes of alerts: times in columns, the rest row by row, as few travel together.

use crate::bytes::{Reader, Writer};
use crate::column::Times;
use crate::limits::Rows;
use crate::records::{read_code, read_coding, read_decimal, read_instance, write_coding, write_decimal, write_instance};
use crate::{Alert, AlertState, Concern, DeviceTime, InstanceAlerts, Moment, NumberedAlert, Priority, WireError};

/// The fewest bytes of an alert after its times.
const ALERT_BYTES_MIN: usize = 11;

pub(crate) fn write_alerts(w: &mut Writer, instances: &[InstanceAlerts]) -> Result<(), WireError> {
    let (mut rows, mut times) = (Rows::new(), Times::default());
    w.varint(instances.len() as u64);
    rows.take(instances.len())?;
    for i in instances {
        rows.take(i.alerts.len())?;
        write_instance(w, &i.instance, i.late)?;
        w.varint(i.alerts.len() as u64);
        times.write(w, i.alerts.iter().map(|a| (a.moment, a.alert.at)));
        i.alerts.iter().for_each(|alert| write_alert(w, alert));
    }
    Ok(())
}

pub(crate) fn read_alerts(mut r: Reader<'_>) -> Result<Vec<InstanceAlerts>, WireError> {
    let (mut rows, mut times) = (Rows::new(), Times::default());
    let n = r.count(3)?;
    rows.take(n)?;
    let mut instances = Vec::with_capacity(n);
    for _ in 0..n {
        let (instance, late) = read_instance(&mut r)?;
        let n = r.count(ALERT_BYTES_MIN)?;
        rows.take(n)?;
        let times = times.read(&mut r, n)?;
        let alerts = times.into_iter().map(|time| read_alert(&mut r, time)).collect::<Result<_, _>>()?;
        instances.push(InstanceAlerts { instance, late, alerts });
    }
    r.end()?;
    Ok(instances)
}

fn write_alert(w: &mut Writer, numbered: &NumberedAlert) {
    let alert = &numbered.alert;
    w.varint(u64::from(numbered.run));
    w.varint(numbered.index);
    w.varint(u64::from(alert.id));
    w.option(alert.channel, |w, c| w.varint(u64::from(c)));
    w.u8(alert.priority.code());
    w.u8(alert.concern.code());
    w.u8(alert.state.code());
    w.option(alert.code.as_ref(), write_coding);
    w.option(alert.low, write_decimal);
    w.option(alert.high, write_decimal);
    w.text(&alert.text);
}

fn read_alert(r: &mut Reader<'_>, (moment, at): (Moment, DeviceTime)) -> Result<NumberedAlert, WireError> {
    let (run, index) = (r.number()?, r.varint()?);
    let alert = Alert {
        id: r.number()?,
        at,
        channel: r.option(Reader::number)?,
        priority: read_code(r, Priority::from_code, "a priority")?,
        concern: read_code(r, Concern::from_code, "a concern")?,
        state: read_code(r, AlertState::from_code, "an alert's state")?,
        code: r.option(read_coding)?,
        low: r.option(read_decimal)?,
        high: r.option(read_decimal)?,
        text: r.text()?,
    };
    Ok(NumberedAlert { run, index, moment, alert })
}
