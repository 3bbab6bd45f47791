//! Passes a request on to the URL in its query, with `wstd`, and the answer back; both bodies are streamed. What goes
//! wrong is the answer, with status 502. With `/many?N+URL` it sends N requests, 2,500 at
//! a time (a guest may wait for 4,096 handles at once), and tells how many succeeded; with `/seq?N+URL` one after the other.

use wstd::http::{Body, Client, Error, Method, Request, Response};

const AT_ONCE: usize = 2_500;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let target = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/many" => many(&target).await,
        "/seq" => one_by_one(&target).await,
        _ => Ok(pass_on(request, &target).await.unwrap_or_else(failed)),
    }
}

async fn pass_on(request: Request<Body>, url: &str) -> Result<Response<Body>, Error> {
    let mut passed = Request::builder().method(request.method().clone()).uri(url);
    for name in ["content-length", "x-test"] {
        if let Some(value) = request.headers().get(name) {
            passed = passed.header(name, value);
        }
    }
    let response = Client::new().send(passed.body(request.into_body())?).await?;
    let mut answer = Response::builder().status(response.status());
    for name in ["content-length", "location", "x-test"] {
        if let Some(value) = response.headers().get(name) {
            answer = answer.header(name, value);
        }
    }
    Ok(answer.body(response.into_body())?)
}

async fn many(target: &str) -> Result<Response<Body>, Error> {
    let (count, url) = target.split_once('+').expect("a number and a URL");
    let count: usize = count.parse().expect("a number");
    let one = |url: String| async move {
        let request = Request::builder().method(Method::GET).uri(url).body(Body::empty())?;
        let mut response = Client::new().send(request).await?;
        response.body_mut().contents().await?;
        Ok::<(), Error>(())
    };
    let (mut right, mut wrong) = (0, std::collections::BTreeMap::<String, usize>::new());
    for start in (0..count).step_by(AT_ONCE) {
        let now = AT_ONCE.min(count - start);
        let tasks: Vec<_> = (0..now).map(|_| wstd::runtime::spawn(one(url.to_owned()))).collect();
        for task in tasks {
            match task.await {
                Ok(()) => right += 1,
                Err(error) => *wrong.entry(format!("{error:?}")).or_default() += 1,
            }
        }
    }
    Ok(Response::new(format!("{right} right, {wrong:?}\n").into()))
}

/// As many requests, one after the other.
async fn one_by_one(target: &str) -> Result<Response<Body>, Error> {
    let (count, url) = target.split_once('+').expect("a number and a URL");
    let count: usize = count.parse().expect("a number");
    for _ in 0..count {
        let request = Request::builder().method(Method::GET).uri(url).body(Body::empty())?;
        let mut response = Client::new().send(request).await?;
        response.body_mut().contents().await?;
    }
    Ok(Response::new(format!("{count} right\n").into()))
}

fn failed(error: Error) -> Response<Body> {
    let mut response = Response::new(format!("{error:?}\n").into());
    *response.status_mut() = wstd::http::StatusCode::BAD_GATEWAY;
    response
}
