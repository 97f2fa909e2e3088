//! The task for the scheduler of Windows, started when the user logs on.
//!
//! Not a service of the service manager: that would run as another account, without the user's files, and the program
//! would have to speak the manager's own protocol.

use super::{Service, xml};

/// Name of the file.
pub(crate) const TASK: &str = "c2l-agent.xml";

/// Its text, for `schtasks /Create /TN c2l-agent /XML FILE`. Without a limit of time, which would be three days.
pub(crate) fn task(service: &Service<'_>) -> String {
    let program = xml(service.program);
    // A path on Windows has no quotes in it.
    let arguments = xml(&format!("agent --config \"{}\"", service.config));
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!-- Written by `c2l agent install`; `c2l agent uninstall` takes it away. -->
<Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id=\"Author\">
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>999</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context=\"Author\">
    <Exec>
      <Command>{program}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"
    )
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    #[test]
    fn the_task_names_program_and_configuration_and_escapes_them() {
        let service = Service::new(
            Path::new(r"C:\Program Files\R&D\c2l.exe"),
            Path::new(r"C:\Users\ada\c2l.toml"),
            Duration::from_secs(30),
        );
        let task = task(&service.unwrap());
        for line in [
            r"<Command>C:\Program Files\R&amp;D\c2l.exe</Command>",
            r"<Arguments>agent --config &quot;C:\Users\ada\c2l.toml&quot;</Arguments>",
            "<ExecutionTimeLimit>PT0S</ExecutionTimeLimit>",
        ] {
            assert!(task.lines().any(|found| found.trim() == line), "{task}");
        }
    }
}
