// A file to the server, and its text as it comes back, as server-sent events.

// What the server says is wrong: its sentence as the message, and its code.
export const refusal = (status, row) =>
  Object.assign(new Error(row?.error?.message ?? `HTTP ${status}`), { code: row?.error?.code ?? null, status });

export class Upload {
  // `listener.sent(share)` while it is uploaded, `listener.row(row)` for each event.
  constructor(form, headers, listener) {
    const request = (this.request = new XMLHttpRequest());
    this.done = new Promise((resolve, reject) => {
      let read = 0;
      const rows = () => {
        for (let end; (end = request.responseText.indexOf("\n\n", read)) >= 0; read = end + 2) {
          const row = JSON.parse(request.responseText.slice(read, end).replace(/^data: /, ""));
          if (row.error) throw refusal(request.status, row);
          listener.row(row);
        }
      };
      const careful = (work) => () => {
        try {
          work();
        } catch (error) {
          reject(error);
          request.abort();
        }
      };
      request.upload.onprogress = ({ loaded, total }) => listener.sent(loaded / total);
      request.onprogress = careful(() => request.status === 200 && rows());
      request.onload = careful(() => {
        if (request.status !== 200) throw refusal(request.status, parsed(request.responseText));
        rows();
        resolve();
      });
      request.onerror = () => reject(Object.assign(new Error("network"), { code: "unreachable" }));
      request.onabort = () => reject(Object.assign(new Error("canceled"), { code: "canceled" }));
      request.open("POST", "/v1/audio/transcriptions");
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.send(form);
    });
  }

  cancel() {
    this.request.abort();
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
