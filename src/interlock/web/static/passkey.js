// Passkeys: a form with data-passkey="create" or "get" fetches what is to be signed from data-options, has the browser
// do it, and is sent with the answer in its field "credential". Without this file, or without passkeys, it stays hidden.
"use strict";

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const known = (list) => (list || []).map((each) => ({ ...each, id: bytes(each.id) }));

async function create(options) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: known(options.excludeCredentials),
    },
  });
  const { response } = made;
  return answer(made, {
    clientDataJSON: text(response.clientDataJSON),
    attestationObject: text(response.attestationObject),
    transports: response.getTransports ? response.getTransports() : [],
  });
}

async function get(options) {
  const signed = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: known(options.allowCredentials),
    },
  });
  const { response } = signed;
  return answer(signed, {
    clientDataJSON: text(response.clientDataJSON),
    authenticatorData: text(response.authenticatorData),
    signature: text(response.signature),
    userHandle: response.userHandle ? text(response.userHandle) : null,
  });
}

function answer(credential, response) {
  const id = text(credential.rawId);
  return JSON.stringify({ id, rawId: id, type: credential.type, response, clientExtensionResults: {} });
}

async function use(form) {
  const button = form.querySelector("button");
  const said = form.querySelector("[role=alert]");
  button.disabled = true;
  said.hidden = true;
  try {
    const sent = new URLSearchParams(new FormData(form));
    const reply = await fetch(form.dataset.options, { method: "POST", body: sent, credentials: "same-origin" });
    if (!reply.ok) {
      throw new Error("This page is too old: reload it and try again.");
    }
    const work = form.dataset.passkey === "create" ? create : get;
    form.elements.credential.value = await work(await reply.json());
    form.submit();
  } catch (error) {
    said.textContent =
      error.name === "NotAllowedError" ? "No passkey was used: it was cancelled, or took too long." :
      error.name === "InvalidStateError" ? "This device has a passkey for your account already." : error.message;
    said.hidden = false;
    button.disabled = false;
  }
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      use(form);
    });
    form.closest("[data-with-passkeys]").hidden = false;
  }
}
