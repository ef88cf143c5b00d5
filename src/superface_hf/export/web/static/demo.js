/** The page that shows a student: it says a sound file, or repeats what the microphone hears. */

import { SuperFace } from "./superface.js";

const [canvas, file, microphone, stop, status] = ["face", "file", "microphone", "stop", "status"].map((id) =>
  document.getElementById(id),
);

/** Runs a task, and shows its error if it fails. */
async function attempt(what, work) {
  status.textContent = what;
  try {
    await work();
    status.textContent = "";
  } catch (error) {
    status.textContent = error.message;
  }
}

await attempt("Loading …", async () => {
  const face = await SuperFace.load(canvas);
  globalThis.superface = face; // for a look at it in the console
  document.getElementById("title").textContent = face.manifest.person ?? "SuperFace";
  for (const control of [file, microphone, stop]) control.disabled = false;
  file.onchange = () => file.files.length && attempt("Speaking …", () => face.say(file.files[0]));
  microphone.onclick = () => attempt("Listening …", async () => void (await face.listen()));
  stop.onclick = () => face.stop();
});
