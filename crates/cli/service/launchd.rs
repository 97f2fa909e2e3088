//! The property list for launchd, as an agent of the user's own session.

use super::{NAME, Service, xml};

/// Name of the file.
pub(crate) const PLIST: &str = "c2l-agent.plist";

/// Its text. launchd knows no exit codes: whatever failed is tried again, at most every 30 s.
pub(crate) fn plist(service: &Service<'_>, log: &str) -> String {
    let (program, config, log) = (xml(service.program), xml(service.config), xml(log));
    let stop_within = service.stop_within.as_secs();
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<!-- Written by `c2l agent install`; `c2l agent uninstall` takes it away. -->
<plist version=\"1.0\">
<dict>
  <key>Label</key>
  <string>{NAME}</string>
  <key>ProgramArguments</key>
  <array>
    <string>{program}</string>
    <string>agent</string>
    <string>--config</string>
    <string>{config}</string>
  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>30</integer>
  <key>ExitTimeOut</key>
  <integer>{stop_within}</integer>
  <key>StandardErrorPath</key>
  <string>{log}</string>
</dict>
</plist>
"
    )
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    #[test]
    fn the_list_names_program_and_configuration_and_escapes_them() {
        let service = Service::new(
            Path::new("/Users/ada/R&D/c2l"),
            Path::new("/Users/ada/<c2l>.toml"),
            Duration::from_secs(30),
        );
        let plist = plist(&service.unwrap(), "/Users/ada/Library/Logs/c2l-agent.log");
        for line in [
            "<string>/Users/ada/R&amp;D/c2l</string>",
            "<string>agent</string>",
            "<string>--config</string>",
            "<string>/Users/ada/&lt;c2l&gt;.toml</string>",
            "<integer>40</integer>",
            "<string>/Users/ada/Library/Logs/c2l-agent.log</string>",
        ] {
            assert!(plist.lines().any(|found| found.trim() == line), "{plist}");
        }
        let opened = plist.matches("<dict>").count();
        assert_eq!(opened, plist.matches("</dict>").count());
        assert!(!plist.contains("EnvironmentVariables"));
    }
}
