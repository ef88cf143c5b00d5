"""JavaScript of the page that runs in the visitor's browser and asks no server."""

from __future__ import annotations

# Gradio shows errors in a corner of the page for some seconds. This script shows them beside the field that was used last, or
# beside the tab's button, until the next try. If a later gradio names its elements otherwise, its own messages stay.
NOTICES = """
(() => {
  let used = null;
  const shown = slot => slot.parentElement.offsetParent !== null;
  const slots = () => [...document.querySelectorAll('.sf-told')].filter(shown);
  const after = field => slots().find(slot => field.compareDocumentPosition(slot) & Node.DOCUMENT_POSITION_FOLLOWING);
  const untell = slot => slot && slot.querySelectorAll('.sf-said').forEach(note => note.remove());
  function tell(text, bad) {
    const field = used && used.isConnected ? used : null;
    const slot = (field && after(field)) || slots().find(slot => slot.classList.contains('sf-told-run'));
    if (!slot) return false;
    untell(slot);
    const note = document.createElement('p');
    note.className = `sf-note ${bad ? 'bad' : 'good'} sf-said`;
    note.setAttribute('role', bad ? 'alert' : 'status');
    note.textContent = text;
    slot.append(note);
    slot.scrollIntoView({block: 'nearest'});
    return true;
  }
  function notice(event) {
    if (!event.isTrusted && event.type === 'click') return;
    used = event.target.closest?.('.sf-field') ?? null;
    if (used) untell(after(used));
    else if (event.target.closest?.('.sf-run')) slots().forEach(untell);
  }
  for (const kind of ['click', 'change', 'drop', 'input']) document.addEventListener(kind, notice, true);
  // A file that is not a picture is removed from its field instead of being shown as a broken picture.
  document.addEventListener('error', event => {
    if (event.target.tagName !== 'IMG') return;
    event.target.closest('.sf-field')?.querySelector('button[aria-label="Clear"], button[aria-label="Remove Image"]')?.click();
  }, true);
  new MutationObserver(() => {
    for (const toast of document.querySelectorAll('.toast-body:is(.error, .info):not([data-told])')) {
      const texts = [...toast.querySelectorAll('[data-testid="toast-text"]')].map(one => one.textContent.trim());
      if (!texts.length || !tell([...new Set(texts)].join(' '), toast.classList.contains('error'))) continue;
      toast.dataset.told = '';
      toast.querySelector('[data-testid="toast-close"]')?.click();
    }
    // Gradio's pictures have no words for those who cannot see them.
    for (const picture of document.querySelectorAll('.block img[alt=""]')) {
      const name = picture.closest('.block').querySelector('label')?.textContent.trim();
      if (name) picture.alt = name;
    }
  }).observe(document, {childList: true, subtree: true});
})();
"""
# Browsers start videos automatically only without sound. For visitors who prefer reduced motion they are not started.
PLAYBACK = """
(() => {
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  document.addEventListener('loadedmetadata', event => {
    const video = event.target;
    if (video.tagName !== 'VIDEO' || !video.closest('.sf-result')) return;
    const example = /\\/example_[a-z]+\\.mp4$/.test(video.currentSrc);
    video.toggleAttribute('data-example', example);
    video.muted = video.loop = example;
    if (example && !still.matches) video.play().catch(() => {});
  }, true);
  document.addEventListener('play', event => {  // gradio starts it too
    const video = event.target;
    if (!still.matches || !video.hasAttribute('data-example') || 'still' in video.dataset) return;
    video.dataset.still = '';
    video.pause();
  }, true);
  document.addEventListener('click', event => {
    if (!event.target.closest?.('.sf-hear')) return;
    const video = event.target.closest('.sf-out').querySelector('video[data-example]');
    if (!video) return;
    video.muted = video.loop = false;
    video.currentTime = 0;
    video.play();
  });
})();
"""
SCRIPT = NOTICES + PLAYBACK
