// Browsers start no Worker from a file: page. The search of the site then runs in a hidden frame
// of the page, with the interface of a Worker.
"use strict";
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      window.addEventListener("message", (event) => {
        if (event.source === this.inside) {
          const copy = new MessageEvent("message", { data: event.data });
          this.dispatchEvent(copy);
          this.onmessage?.(copy);
        }
      });
      this.loaded = new Promise((resolve) => { frame.onload = resolve; });
      const document_ = this.inside.document;
      document_.open();
      document_.write(
        '<script>self.postMessage = (data) => parent.postMessage(data, "*");</scr' + "ipt>" +
        `<script src="${url}"></scr` + "ipt>");
      document_.close();
    }

    postMessage(data) {
      this.loaded.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
