'use strict';
// Shows the next runs of the schedule in the form, and hides the fields that its type has no use for.
document.addEventListener('DOMContentLoaded', function() {
    const address = document.getElementById('q-preview-url');
    const box = document.querySelector('.q-preview');
    const type = document.getElementById('id_schedule_type');
    if (!address || !box || !type) {
        return;
    }
    const owners = {minutes: 'I', seconds: 'S', cron: 'C'};
    const names = ['schedule_type', 'minutes', 'seconds', 'cron', 'repeats', 'next_run_0', 'next_run_1'];
    let timer = null;
    let asked = 0;

    function fit() {
        for (const [name, owner] of Object.entries(owners)) {
            const row = document.querySelector('.field-' + name);
            if (row) {
                row.hidden = type.value !== owner;
            }
        }
    }

    async function show() {
        const query = new URLSearchParams();
        for (const name of names) {
            const field = document.getElementById('id_' + name);
            query.set(name, field ? field.value : '');
        }
        const number = ++asked;
        const answer = await fetch(address.dataset.url + '?' + query, {credentials: 'same-origin'});
        if (!answer.ok || number !== asked) {
            return;
        }
        const found = await answer.json();
        box.querySelector('ol').replaceChildren(...found.slots.map(function(text) {
            const line = document.createElement('li');
            line.textContent = text;
            return line;
        }));
        box.querySelector('.q-fault').textContent = found.problem;
    }

    function later() {
        fit();
        clearTimeout(timer);
        timer = setTimeout(show, 250);
    }

    for (const name of names) {
        const field = document.getElementById('id_' + name);
        if (field) {
            // the calendar of the admin sets values without an event until the field is left
            for (const event of ['input', 'change', 'focus', 'blur']) {
                field.addEventListener(event, later);
            }
        }
    }
    fit();
    if (!box.querySelector('li')) {
        show();
    }
});
