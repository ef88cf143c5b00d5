"""The page's side of a call: JavaScript for an element with a ``video``, a ``.state`` and perhaps a ``.self``, a small video of
the visitor."""

from __future__ import annotations

# ``call(value)`` begins a call, ``hangUp()`` ends it and switches the camera off. An offer without any text tells the server
# that this browser cannot connect, so that it does not wait; after that the page asks for no further calls without a camera.
CALL = """
let peer = null, camera = null, calls = 0, refused = '';
function hangUp() {
  if (peer) peer.close();
  if (camera) camera.getTracks().forEach(track => track.stop());
  peer = camera = null;
  calls++;
  delete element.dataset.call;
}
async function call(value) {
  hangUp();
  const mine = calls, screen = element.querySelector('video:not(.self)'), self = element.querySelector('video.self');
  const state = element.querySelector('.state');
  element.dataset.call = 'connecting';
  refused = '';
  const root = (window.gradio_config?.root ?? '').replace(/\\/$/, '');
  const offer = sdp => fetch(root + '/live/offer', {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({token: value.call, sdp}),
  });
  const said = text => { if (mine === calls) state.textContent = text; };
  try {
    if (!window.RTCPeerConnection || (!value.camera && window.sfCannotCall)) throw new Error('no WebRTC');
    if (value.camera) {
      said('Please allow the camera.');
      const opened = await navigator.mediaDevices.getUserMedia(
        {video: {width: {ideal: 480}, height: {ideal: 360}, frameRate: {ideal: 25, max: 30}, facingMode: 'user'}});
      if (mine !== calls) { opened.getTracks().forEach(track => track.stop()); return; }
      camera = opened;
      self.srcObject = camera;
      self.hidden = false;
    }
    said('Connecting…');
    const own = peer = new RTCPeerConnection({iceServers: value.stun ? [{urls: value.stun}] : []});
    const came = new MediaStream();
    own.ontrack = event => { came.addTrack(event.track); screen.srcObject = came; };
    if (camera) own.addTransceiver(camera.getVideoTracks()[0], {direction: 'sendrecv', streams: [camera]});
    else for (const kind of ['audio', 'video']) own.addTransceiver(kind, {direction: 'recvonly'});
    await own.setLocalDescription();
    if (value.stun) await gathered(own);
    if (mine !== calls) return;
    const answer = await offer(own.localDescription.sdp);
    if (!answer.ok) throw new Error(await answer.text());
    if (mine !== calls) return;
    await own.setRemoteDescription({type: 'answer', sdp: (await answer.json()).sdp});
    screen.onplaying = () => {
      element.querySelectorAll('.poster, canvas').forEach(other => { other.hidden = true; });
      screen.hidden = false;
      element.dataset.call = 'shown';
      count(screen, mine);
      said(value.camera ? 'Live: synthetic, drawn from your camera' : 'Speaking, drawn live');
    };
    await screen.play().catch(() => {
      if (mine !== calls) return;
      screen.muted = true;
      screen.play();
      said('Click the picture to hear it.');
      screen.onclick = () => { screen.muted = false; };
    });
  } catch (error) {
    if (mine !== calls) return;
    if (error.name === 'NotAllowedError') refused = 'The camera was not allowed.';
    if (error.name === 'NotFoundError') refused = 'This computer has no camera.';
    hangUp();
    if (!value.camera) window.sfCannotCall = true;
    element.dataset.call = 'failed';
    state.textContent = refused || 'Getting ready…';
    fetch(root + '/live/offer', {
      method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({token: value.call, sdp: null}),
    }).catch(() => {});
  }
}
// The server's relay sends to the addresses in the offer. Without a relay the server does not need them.
function gathered(own) {
  return new Promise(done => {
    setTimeout(done, 2000);
    own.onicegatheringstatechange = () => { if (own.iceGatheringState === 'complete') done(); };
  });
}
function count(screen, mine) {
  let shown = 0;
  const next = () => {
    if (mine !== calls) return;
    element.dataset.shown = ++shown;
    screen.requestVideoFrameCallback?.(next);
  };
  screen.requestVideoFrameCallback?.(next);
}
function ended(words) {
  hangUp();
  for (const video of element.querySelectorAll('video')) video.srcObject = null;
  const self = element.querySelector('.self'), poster = element.querySelector('.poster');
  if (self) self.hidden = true;
  if (poster) { poster.hidden = false; element.querySelector('video').hidden = true; }
  if (words) element.querySelector('.state').textContent = refused || words;
  refused = '';
}
window.addEventListener('pagehide', hangUp);
// The page itself ends the call and lets go of the camera: what a server answers after a stop may not arrive.
window.addEventListener('sf-hang-up', () => { if (peer || camera) ended('Stopped.'); });
"""
