// Where the page begins.
import { render } from "preact";
import "./styles/index.css";
import { App } from "./app/App";
import { startRouter } from "./app/navigation";
import { startTheme } from "./app/theme";
import { watchConnection } from "./api/connection";
import { refreshSession, session, watchTabs } from "./api/session";
import { arrive } from "./signin/place";

startTheme();
startRouter();
watchConnection();
watchTabs();
void refreshSession().then(() => {
  if (session.value.phase === "signed_in" && location.hash === "") arrive(); // back from a provider
});
render(<App />, document.getElementById("app")!);
